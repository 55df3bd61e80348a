"""The objective along lines and over planes through W, exact and at any resolution.

`along` gives a `Line`, `spanned` a `Plane`; after the products that make them they do not read X
again. `slice_1d`, `slice_2d` and `project_path` draw landscapes from them, or from any function.
"""

from jaxsvm.lines.directions import direction_between as direction_between
from jaxsvm.lines.directions import principal_directions as principal_directions
from jaxsvm.lines.directions import random_direction as random_direction
from jaxsvm.lines.landscape import Slice as Slice
from jaxsvm.lines.landscape import project_path as project_path
from jaxsvm.lines.landscape import slice_1d as slice_1d
from jaxsvm.lines.landscape import slice_2d as slice_2d
from jaxsvm.lines.line import Line as Line
from jaxsvm.lines.line import Minimum as Minimum
from jaxsvm.lines.line import along as along
from jaxsvm.lines.plane import Plane as Plane
from jaxsvm.lines.plane import spanned as spanned
