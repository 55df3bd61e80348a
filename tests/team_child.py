"""An experiment that saves itself after every chunk, for tests that kill it.

python -m tests.team_child --X X.npy --y y.npy --coordinator 127.0.0.1:1234 ...
"""

from experiments import local_search
from experiments.shared import kept_runs, runner

# At the top, because the child that computes imports this file too.
kept_runs.SECONDS = 0.0

if __name__ == "__main__":
    runner.main(local_search.__name__)
