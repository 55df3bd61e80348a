"""Gradients in closed form and by differences, and the check that knows about kinks.

`analytic_gradient` is the notes' calculus, `numerical_gradient` their slow loop for any function,
`termwise_numerical_gradient` the same difference for every coordinate in one pass. `check_gradient`
says of each coordinate of any function's gradient whether it is right, and what explains it where a
difference disagrees.
"""

from jaxsvm.gradients.analytic import analytic_gradient as analytic_gradient
from jaxsvm.gradients.analytic import score_gradient as score_gradient
from jaxsvm.gradients.assertions import assert_gradient as assert_gradient
from jaxsvm.gradients.assertions import assert_numerical_grads as assert_numerical_grads
from jaxsvm.gradients.assertions import check_gradient as check_gradient
from jaxsvm.gradients.budget import error_budget as error_budget
from jaxsvm.gradients.budget import suggest_h as suggest_h
from jaxsvm.gradients.check import GradientCheck as GradientCheck
from jaxsvm.gradients.function_check import FunctionCheck as FunctionCheck
from jaxsvm.gradients.numerical import numerical_gradient as numerical_gradient
from jaxsvm.gradients.numerical import relative_error as relative_error
from jaxsvm.gradients.termwise import termwise_numerical_gradient as termwise_numerical_gradient
from jaxsvm.gradients.verdict import Verdict as Verdict
