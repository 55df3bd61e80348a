"""Every strategy behind one contract, and the loop that runs them."""
