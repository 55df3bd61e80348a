"""The objective and what it is made of: data and features, losses, penalties, argument checks."""
