"""Every optimizer behind one contract, and the loop that runs them.

`Optimizer` is a pair of pure functions, ``init`` and ``step``; `run` and `advance` are the loop,
and `run_resumable` is the loop of a run that survives being killed, and stops by a `DivergedError`
where the loss makes no sense any more.
Gradients: `gradient_descent`, `minibatch`, `from_optax`, `line_search_descent`. Losses alone:
`random_search`, `local_search`, `local_searches`; `pruned_random_search` and `pruned_local_search`
also take gradients, to refuse trials unseen. Made of others: `best_so_far`, `record_every`. A step
size is a number or a schedule, any function of the step's number such as those of optax.
"""

from jaxsvm.optimizers.contract import Info as Info
from jaxsvm.optimizers.contract import Optimizer as Optimizer
from jaxsvm.optimizers.contract import State as State
from jaxsvm.optimizers.contract import advance as advance
from jaxsvm.optimizers.contract import run as run
from jaxsvm.optimizers.descent import gradient_descent as gradient_descent
from jaxsvm.optimizers.divergence import DivergedError as DivergedError
from jaxsvm.optimizers.exact_line import line_search_descent as line_search_descent
from jaxsvm.optimizers.local_search import local_search as local_search
from jaxsvm.optimizers.local_search import local_searches as local_searches
from jaxsvm.optimizers.minibatch import minibatch as minibatch
from jaxsvm.optimizers.minibatch import minibatch_gradient_descent as minibatch_gradient_descent
from jaxsvm.optimizers.optax import from_optax as from_optax
from jaxsvm.optimizers.pruned_local_search import pruned_local_search as pruned_local_search
from jaxsvm.optimizers.random_search import pruned_random_search as pruned_random_search
from jaxsvm.optimizers.random_search import random_search as random_search
from jaxsvm.optimizers.resumable import run_resumable as run_resumable
from jaxsvm.optimizers.wrappers import best_so_far as best_so_far
from jaxsvm.optimizers.wrappers import record_every as record_every
