"""Pictures and tables of limit_experiments.py."""
from pathlib import Path
HERE = Path(__file__).parent
RESULTS = HERE / "results" / "limit_experiments.json"
COLUMNS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
def write(pages): pass
