"""jaxsvm: the optimization of the multiclass linear SVM in JAX.

The scores are linear in W and the loss is piecewise linear in the scores, so lines through the
weights, searches, gradient checks and optimality certificates can be exact and fast. Start with
`load_dataset`, `Objective` and `run`; every function takes its data as an argument and is pure.
"""

from jaxsvm.certificate.bound import dual_value as dual_value
from jaxsvm.certificate.bound import duality_gap as duality_gap
from jaxsvm.certificate.bound import lower_bound as lower_bound
from jaxsvm.certificate.solve import Solution as Solution
from jaxsvm.certificate.solve import regularization_path as regularization_path
from jaxsvm.certificate.solve import solve as solve
from jaxsvm.core.arguments import validate as validate
from jaxsvm.core.features import StandardizedFeatures as StandardizedFeatures
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
from jaxsvm.core.penalties import l1_penalty as l1_penalty
from jaxsvm.core.penalties import l2_penalty as l2_penalty
from jaxsvm.core.types import Data as Data
from jaxsvm.datasets.load import Dataset as Dataset
from jaxsvm.datasets.load import data_from_arrays as data_from_arrays
from jaxsvm.datasets.load import load_dataset as load_dataset
from jaxsvm.datasets.load import rows_from_pixels as rows_from_pixels
from jaxsvm.datasets.tfds import DatasetError as DatasetError
from jaxsvm.gradients.analytic import analytic_gradient as analytic_gradient
from jaxsvm.gradients.budget import error_budget as error_budget
from jaxsvm.gradients.budget import suggest_h as suggest_h
from jaxsvm.gradients.check import GradientCheck as GradientCheck
from jaxsvm.gradients.check import Verdict as Verdict
from jaxsvm.gradients.check import assert_gradient as assert_gradient
from jaxsvm.gradients.check import check_gradient as check_gradient
from jaxsvm.gradients.directional import check_directions as check_directions
from jaxsvm.gradients.numerical import numerical_gradient as numerical_gradient
from jaxsvm.gradients.numerical import relative_error as relative_error
from jaxsvm.gradients.termwise import termwise_numerical_gradient as termwise_numerical_gradient
from jaxsvm.lines.directions import direction_between as direction_between
from jaxsvm.lines.directions import principal_directions as principal_directions
from jaxsvm.lines.directions import random_direction as random_direction
from jaxsvm.lines.landscape import project_path as project_path
from jaxsvm.lines.landscape import slice_1d as slice_1d
from jaxsvm.lines.landscape import slice_2d as slice_2d
from jaxsvm.lines.line import Line as Line
from jaxsvm.lines.line import along as along
from jaxsvm.lines.plane import Plane as Plane
from jaxsvm.lines.plane import spanned as spanned
from jaxsvm.optimizers.contract import Optimizer as Optimizer
from jaxsvm.optimizers.contract import advance as advance
from jaxsvm.optimizers.contract import run as run
from jaxsvm.optimizers.descent import from_optax as from_optax
from jaxsvm.optimizers.descent import gradient_descent as gradient_descent
from jaxsvm.optimizers.descent import minibatch as minibatch
from jaxsvm.optimizers.descent import minibatch_gradient_descent as minibatch_gradient_descent
from jaxsvm.optimizers.exact_line import line_search_descent as line_search_descent
from jaxsvm.optimizers.local_searches import local_searches as local_searches
from jaxsvm.optimizers.pruning import pruned_random_search as pruned_random_search
from jaxsvm.optimizers.random_search import local_search as local_search
from jaxsvm.optimizers.random_search import random_search as random_search
from jaxsvm.optimizers.schedules import constant as constant
from jaxsvm.optimizers.schedules import exponential_decay as exponential_decay
from jaxsvm.optimizers.schedules import inverse_decay as inverse_decay
from jaxsvm.optimizers.schedules import linear_decay as linear_decay
from jaxsvm.optimizers.schedules import step_decay as step_decay
from jaxsvm.optimizers.wrappers import best_so_far as best_so_far
from jaxsvm.optimizers.wrappers import record_every as record_every

__version__ = "0.1.0"
