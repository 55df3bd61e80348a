"""Gradients in closed form and by differences, and the check that tells a kink from a mistake."""
