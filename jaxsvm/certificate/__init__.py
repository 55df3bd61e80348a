"""Lower bounds on the objective, and the solver that proves how far it is from the minimum."""
