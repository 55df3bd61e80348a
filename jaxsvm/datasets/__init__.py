"""From a dataset's name or from arrays to checked `Data`: the part that reads files."""
