"""The objective along lines and planes through W, exact and at any resolution."""
