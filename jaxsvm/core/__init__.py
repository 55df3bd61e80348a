"""The objective and what it is made of.

Data and features lie at the bottom, then the losses (`Hinge`, one record for the whole family) and
the penalties, then `Objective`, which puts them together. Checks of arguments and block sizes are
here too, because every other room needs them.
"""

from jaxsvm.core.arguments import validate as validate
from jaxsvm.core.compilation import compiled as compiled
from jaxsvm.core.features import StandardizedFeatures as StandardizedFeatures
from jaxsvm.core.losses import FAMILY as FAMILY
from jaxsvm.core.losses import Hinge as Hinge
from jaxsvm.core.losses import crammer_singer_loss as crammer_singer_loss
from jaxsvm.core.losses import hinge_loss as hinge_loss
from jaxsvm.core.losses import margins as margins
from jaxsvm.core.losses import one_vs_rest_loss as one_vs_rest_loss
from jaxsvm.core.losses import softmax_loss as softmax_loss
from jaxsvm.core.losses import squared_hinge_loss as squared_hinge_loss
from jaxsvm.core.objective import Objective as Objective
from jaxsvm.core.objective import accuracy as accuracy
from jaxsvm.core.objective import predict as predict
from jaxsvm.core.objective import score as score
from jaxsvm.core.penalties import Penalty as Penalty
from jaxsvm.core.penalties import l1_penalty as l1_penalty
from jaxsvm.core.penalties import l2_penalty as l2_penalty
from jaxsvm.core.sources import RowSource as RowSource
from jaxsvm.core.streamed import StreamedRows as StreamedRows
from jaxsvm.core.types import Data as Data
