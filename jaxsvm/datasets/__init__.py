"""From a dataset's name, a file or arrays to checked `Data`: the room that reads files.

`load_dataset` knows scikit-learn's small sets, the image datasets of tensorflow-datasets, which it
reads and prepares without TensorFlow, and files and folders of your own; `data_from_arrays` takes
arrays.
"""

from jaxsvm.datasets.examples import DatasetError as DatasetError
from jaxsvm.datasets.load import Dataset as Dataset
from jaxsvm.datasets.load import data_from_arrays as data_from_arrays
from jaxsvm.datasets.load import load_dataset as load_dataset
from jaxsvm.datasets.rows import rows_from_pixels as rows_from_pixels
from jaxsvm.datasets.rows import rows_from_table as rows_from_table
