"""Data larger than memory: rows of X that are read when they are needed.

`stream_from_npy`, `stream_from_tfds` and `stream_from_blocks` make `Data` whose X is a stream, of
memory maps, of records, or of a function. `run_stream` and `advance_stream` take mini-batch steps
over it in shuffled epochs, whose order is a pure function, `batch_rows` of an `Order`.
"""

from jaxsvm.streams.descent import advance_stream as advance_stream
from jaxsvm.streams.descent import run_stream as run_stream
from jaxsvm.streams.load import stream_from_blocks as stream_from_blocks
from jaxsvm.streams.load import stream_from_npy as stream_from_npy
from jaxsvm.streams.load import stream_from_tfds as stream_from_tfds
from jaxsvm.streams.order import Order as Order
from jaxsvm.streams.order import batch_rows as batch_rows
