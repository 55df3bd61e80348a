"""jaxsvm: the optimization of the multiclass linear SVM in JAX.

The scores are linear in W and the loss is piecewise linear in the scores, so lines through the
weights, searches, gradient checks and optimality certificates can be exact and fast. Start with
`load_dataset`, `Objective` and `run`; every function takes its data as an argument and is pure.
"""

from jaxsvm.bound import dual_value as dual_value
from jaxsvm.bound import duality_gap as duality_gap
from jaxsvm.bound import lower_bound as lower_bound
from jaxsvm.checks import validate as validate
from jaxsvm.data import Dataset as Dataset
from jaxsvm.data import data_from_arrays as data_from_arrays
from jaxsvm.data import load_dataset as load_dataset
from jaxsvm.data import rows_from_pixels as rows_from_pixels
from jaxsvm.descent import from_optax as from_optax
from jaxsvm.descent import gradient_descent as gradient_descent
from jaxsvm.descent import minibatch as minibatch
from jaxsvm.descent import minibatch_gradient_descent as minibatch_gradient_descent
from jaxsvm.direction import direction_between as direction_between
from jaxsvm.direction import principal_directions as principal_directions
from jaxsvm.direction import random_direction as random_direction
from jaxsvm.directional_check import check_directions as check_directions
from jaxsvm.dual import Solution as Solution
from jaxsvm.dual import regularization_path as regularization_path
from jaxsvm.dual import solve as solve
from jaxsvm.error_budget import error_budget as error_budget
from jaxsvm.error_budget import suggest_h as suggest_h
from jaxsvm.features import Rows as Rows
from jaxsvm.gradient import analytic_gradient as analytic_gradient
from jaxsvm.gradient import numerical_gradient as numerical_gradient
from jaxsvm.gradient import relative_error as relative_error
from jaxsvm.gradient_check import GradientCheck as GradientCheck
from jaxsvm.gradient_check import Verdict as Verdict
from jaxsvm.gradient_check import assert_gradient as assert_gradient
from jaxsvm.gradient_check import check_gradient as check_gradient
from jaxsvm.images import DatasetError as DatasetError
from jaxsvm.landscape import kink_lines as kink_lines
from jaxsvm.landscape import project_path as project_path
from jaxsvm.landscape import slice_1d as slice_1d
from jaxsvm.landscape import slice_2d as slice_2d
from jaxsvm.line import along as along
from jaxsvm.line_search import line_search_descent as line_search_descent
from jaxsvm.loss import Data as Data
from jaxsvm.loss import Objective as Objective
from jaxsvm.loss import accuracy as accuracy
from jaxsvm.loss import crammer_singer_loss as crammer_singer_loss
from jaxsvm.loss import hinge_loss as hinge_loss
from jaxsvm.loss import l1_penalty as l1_penalty
from jaxsvm.loss import l2_penalty as l2_penalty
from jaxsvm.loss import margins as margins
from jaxsvm.loss import one_vs_rest_loss as one_vs_rest_loss
from jaxsvm.loss import predict as predict
from jaxsvm.loss import score as score
from jaxsvm.loss import squared_hinge_loss as squared_hinge_loss
from jaxsvm.optimizer import Optimizer as Optimizer
from jaxsvm.optimizer import run as run
from jaxsvm.pruning import pruned_random_search as pruned_random_search
from jaxsvm.schedule import constant as constant
from jaxsvm.schedule import exponential_decay as exponential_decay
from jaxsvm.schedule import inverse_decay as inverse_decay
from jaxsvm.schedule import linear_decay as linear_decay
from jaxsvm.schedule import step_decay as step_decay
from jaxsvm.search import local_search as local_search
from jaxsvm.search import random_search as random_search
from jaxsvm.searches import local_searches as local_searches
from jaxsvm.termwise import termwise_numerical_gradient as termwise_numerical_gradient
from jaxsvm.wrappers import best_so_far as best_so_far
from jaxsvm.wrappers import record_every as record_every

__version__ = "0.1.0"
