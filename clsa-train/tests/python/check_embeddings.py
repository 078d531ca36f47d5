"""Reads what `clsa embed` has written with NumPy, pandas, safetensors and scikit-learn, as a user does.

    python check_embeddings.py FOLDER

FOLDER holds the same labeled images' features as e.npy, e.csv, e.parquet and e.safetensors.
"""
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file
from sklearn.neighbors import KNeighborsClassifier

folder = Path(sys.argv[1])
features = np.load(folder / "e.npy")
names = (folder / "e.names.txt").read_text().splitlines()
labels = (folder / "e.labels.txt").read_text().splitlines()
assert features.dtype == np.float32 and len(features) == len(names) == len(labels)

csv = pd.read_csv(folder / "e.csv")
assert (csv.filter(regex=r"^f\d+$").to_numpy(np.float32) == features).all()
assert list(csv["name"]) == names and list(csv["label"]) == labels

table = pd.read_parquet(folder / "e.parquet")
assert (np.stack(table["embedding"]) == features).all()
assert list(table["name"]) == names and list(table["label"]) == labels
assert len(set(zip(table["class"], labels))) == len(set(labels)) == table["class"].nunique()

assert (load_file(folder / "e.safetensors")["features"] == features).all()

accuracy = KNeighborsClassifier(5).fit(features, labels).score(features, labels)
assert accuracy > 1.4 / len(set(labels)), accuracy
print(f"{features.shape}, {accuracy:.2f}")
