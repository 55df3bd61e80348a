"""jaxsvm: the optimization of the multiclass linear SVM in JAX.

The scores are linear in W and the loss is piecewise linear in the scores, so lines through the
weights, searches, gradient checks and optimality certificates can be exact and fast. Start with
`load_dataset`, `Objective` and `run`; every function takes its data as an argument and is pure.

Data:

- `load_dataset`, `Dataset`, `DatasetError`: images and tables, by name or path, split and centred
- `data_from_arrays`, `validate`: arrays of your own, checked
- `Data`, `StandardizedFeatures`: X and y; X as bytes with the centring folded in
- `shard`: the same data over several devices, for the same bits
- `stream_from_npy`, `stream_from_tfds`, `stream_from_blocks`: data larger than memory
- `StreamedRows`, `RowSource`, `compiled`: the same from a source of your own, and under a compiler

The objective:

- `score`, `predict`, `accuracy`, `margins`: linear scores and what follows from them
- `Objective`: mean loss + reg · penalty, callable
- `Hinge`: every multiclass hinge loss, by four choices, such as `hinge_loss`, `squared_hinge_loss`,
  `crammer_singer_loss`, `one_vs_rest_loss`
- `softmax_loss`: cross-entropy, which has no hinges
- `l2_penalty`, `l1_penalty`

Lines and landscapes:

- `along`, `Line`: the objective along a direction, exact
- `slice_1d`, `slice_2d`, `project_path`: landscapes, and paths on them
- `random_direction`

Gradients:

- `analytic_gradient`: the notes' closed form
- `numerical_gradient`: black box, one parameter at a time
- `termwise_numerical_gradient`: all coordinates at once
- `check_gradient`, `assert_gradient`: a verdict for every coordinate

Optimizers:

- `Optimizer`, `run`, `advance`: the contract and the loop
- `run_resumable`: the loop, killed and continued without losing a bit
- `run_stream`, `advance_stream`: the loop over mini-batches of a stream
- `random_search`, `pruned_random_search`, `local_search`, `pruned_local_search`, `local_searches`
- `gradient_descent`, `minibatch_gradient_descent`, `line_search_descent`
- `minibatch`, `from_optax`: mini-batches of, or an optimizer from, another

Certificates:

- `lower_bound`: how low any W can get
- `solve`, `Solution`, `regularization_path`: weights that are proved to be nearly optimal

Models:

- `Model`, `model_of`: weights that classify raw inputs; of a Solution
- `save`, `load`: one file, no pickle

The rooms hold the rest: `jaxsvm.core`, `jaxsvm.lines`, `jaxsvm.gradients`, `jaxsvm.optimizers`,
`jaxsvm.certificate`, `jaxsvm.datasets`, `jaxsvm.streams`, `jaxsvm.patches` for features of images,
and two that need more packages: `jaxsvm.plot` for figures (matplotlib), `jaxsvm.estimator` for
scikit-learn.
"""

from jaxsvm.certificate import Solution as Solution
from jaxsvm.certificate import lower_bound as lower_bound
from jaxsvm.certificate import regularization_path as regularization_path
from jaxsvm.certificate import solve as solve
from jaxsvm.core import Data as Data
from jaxsvm.core import Hinge as Hinge
from jaxsvm.core import Objective as Objective
from jaxsvm.core import RowSource as RowSource
from jaxsvm.core import StandardizedFeatures as StandardizedFeatures
from jaxsvm.core import StreamedRows as StreamedRows
from jaxsvm.core import accuracy as accuracy
from jaxsvm.core import compiled as compiled
from jaxsvm.core import crammer_singer_loss as crammer_singer_loss
from jaxsvm.core import hinge_loss as hinge_loss
from jaxsvm.core import l1_penalty as l1_penalty
from jaxsvm.core import l2_penalty as l2_penalty
from jaxsvm.core import margins as margins
from jaxsvm.core import one_vs_rest_loss as one_vs_rest_loss
from jaxsvm.core import predict as predict
from jaxsvm.core import score as score
from jaxsvm.core import softmax_loss as softmax_loss
from jaxsvm.core import squared_hinge_loss as squared_hinge_loss
from jaxsvm.core import validate as validate
from jaxsvm.datasets import Dataset as Dataset
from jaxsvm.datasets import DatasetError as DatasetError
from jaxsvm.datasets import data_from_arrays as data_from_arrays
from jaxsvm.datasets import load_dataset as load_dataset
from jaxsvm.devices import shard as shard
from jaxsvm.gradients import analytic_gradient as analytic_gradient
from jaxsvm.gradients import assert_gradient as assert_gradient
from jaxsvm.gradients import check_gradient as check_gradient
from jaxsvm.gradients import numerical_gradient as numerical_gradient
from jaxsvm.gradients import termwise_numerical_gradient as termwise_numerical_gradient
from jaxsvm.lines import Line as Line
from jaxsvm.lines import along as along
from jaxsvm.lines import project_path as project_path
from jaxsvm.lines import random_direction as random_direction
from jaxsvm.lines import slice_1d as slice_1d
from jaxsvm.lines import slice_2d as slice_2d
from jaxsvm.model import Model as Model
from jaxsvm.model import load as load
from jaxsvm.model import model_of as model_of
from jaxsvm.model import save as save
from jaxsvm.optimizers import Optimizer as Optimizer
from jaxsvm.optimizers import advance as advance
from jaxsvm.optimizers import from_optax as from_optax
from jaxsvm.optimizers import gradient_descent as gradient_descent
from jaxsvm.optimizers import line_search_descent as line_search_descent
from jaxsvm.optimizers import local_search as local_search
from jaxsvm.optimizers import local_searches as local_searches
from jaxsvm.optimizers import minibatch as minibatch
from jaxsvm.optimizers import minibatch_gradient_descent as minibatch_gradient_descent
from jaxsvm.optimizers import pruned_local_search as pruned_local_search
from jaxsvm.optimizers import pruned_random_search as pruned_random_search
from jaxsvm.optimizers import random_search as random_search
from jaxsvm.optimizers import run as run
from jaxsvm.optimizers import run_resumable as run_resumable
from jaxsvm.streams import advance_stream as advance_stream
from jaxsvm.streams import run_stream as run_stream
from jaxsvm.streams import stream_from_blocks as stream_from_blocks
from jaxsvm.streams import stream_from_npy as stream_from_npy
from jaxsvm.streams import stream_from_tfds as stream_from_tfds

__version__ = "0.1.0"
# All names but the rooms', which are modules and have a spec.
__all__ = [n for n, value in [*globals().items()] if n[0] != "_" and not hasattr(value, "__spec__")]
