"""Lower bounds on the objective, and the solver that proves how far it is from the minimum.

`lower_bound` and `dual_value` bound the objective from below at every W, rounding included. `solve`
raises the bound and lowers the objective until they meet to a tolerance.
"""

from jaxsvm.certificate.bound import dual_value as dual_value
from jaxsvm.certificate.bound import duality_gap as duality_gap
from jaxsvm.certificate.bound import lower_bound as lower_bound
from jaxsvm.certificate.path import PathPoint as PathPoint
from jaxsvm.certificate.path import regularization_path as regularization_path
from jaxsvm.certificate.solve import Solution as Solution
from jaxsvm.certificate.solve import solve as solve
