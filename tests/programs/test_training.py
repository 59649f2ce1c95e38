"""Training that is killed ends as an unbroken one: scikit-learn, boosting, Lightning and transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.killed_runs import survived
from tests.support.programs import environment

SCIKIT_LEARN = """
import hashlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from lambent.training import resumable

def fit(run):
    x, y = load_digits(return_X_y=True)
    draws = np.random.default_rng(5)
    linear = SGDClassifier(random_state=np.random.RandomState(1))
    network = MLPClassifier((16,), random_state=2)
    for _ in resumable(run, 20, every_steps=2, linear=linear, network=network, draws=draws):
        rows = draws.permutation(len(x))[:200]
        for model in (linear, network):
            model.partial_fit(x[rows], y[rows], classes=range(10))
    return hashlib.sha256(linear.coef_.tobytes() + network.coefs_[0].tobytes()).hexdigest()
"""
XGBOOST = """
import hashlib
import xgboost
from sklearn.datasets import load_digits
from lambent.training import XGBoostCheckpoint

def fit(run):
    x, y = load_digits(return_X_y=True)
    data = xgboost.DMatrix(x, label=y)
    params = {"objective": "multi:softprob", "num_class": 10, "max_depth": 4, "nthread": 2}
    keep = XGBoostCheckpoint(run, every_s=0)
    booster = xgboost.train(params, data, keep.rounds(12), xgb_model=keep.model, callbacks=[keep])
    trees = "".join(booster.get_dump(with_stats=True)).encode()
    return [booster.num_boosted_rounds(), hashlib.sha256(trees + booster.predict(data).tobytes()).hexdigest()]
"""
LIGHTGBM = """
import hashlib
import lightgbm
from sklearn.datasets import load_digits
from lambent.training import LightGBMCheckpoint

def fit(run):
    x, y = load_digits(return_X_y=True)
    data = lightgbm.Dataset(x, y, free_raw_data=False)
    params = {
        "objective": "multiclass", "num_class": 10, "num_leaves": 8, "verbose": -1, "num_threads": 2,
        "deterministic": True, "force_row_wise": True,
    }
    keep = LightGBMCheckpoint(run, every_s=0)
    booster = lightgbm.train(
        params, data, num_boost_round=keep.rounds(12), init_model=keep.model, callbacks=[keep]
    )
    return [booster.current_iteration(), hashlib.sha256(booster.predict(x).tobytes()).hexdigest()]
"""
LIGHTNING = """
import hashlib, warnings
warnings.filterwarnings("ignore")
import pytorch_lightning
import torch
from sklearn.datasets import load_digits
from lambent.training import LightningCheckpoint

class Digits(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, 32), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        )

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2)}

def fit(run):
    pytorch_lightning.seed_everything(7, verbose=False)
    x, y = load_digits(return_X_y=True)
    data = torch.utils.data.TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
    loader = torch.utils.data.DataLoader(data, batch_size=200, shuffle=True)
    model, keep = Digits(), LightningCheckpoint(run, every_s=0, within_epochs=False)
    trainer = pytorch_lightning.Trainer(
        max_epochs=6, callbacks=[keep], logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(model, loader, ckpt_path=keep.path)
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return [trainer.global_step, hashlib.sha256(weights).hexdigest()]
"""
TRANSFORMERS = """
import hashlib
import torch
import transformers
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from lambent.training import TransformersCheckpoint

def fit(run):
    transformers.set_seed(7)
    x, y = load_digits(return_X_y=True)
    data = [{"input_ids": torch.tensor(a, dtype=torch.long), "labels": int(b)} for a, b in zip(x[:160], y)]
    model = BertForSequenceClassification(BertConfig(
        vocab_size=17, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, num_labels=10,
    ))
    keep = TransformersCheckpoint(run, every_s=0)
    args = TrainingArguments(
        output_dir=str(run.model_dir), max_steps=24, per_device_train_batch_size=16, save_strategy="no",
        report_to=[], disable_tqdm=True, logging_strategy="no", use_cpu=True, seed=7,
    )
    trainer = Trainer(model=model, args=args, train_dataset=data, callbacks=[keep])
    trainer.train(resume_from_checkpoint=keep.path)
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    is_tidy = not any(run.model_dir.iterdir())
    return [trainer.state.global_step, hashlib.sha256(weights).hexdigest(), is_tidy]
"""


@pytest.mark.programs
@pytest.mark.parametrize(
    ("code", "kills", "began"),
    [
        pytest.param(SCIKIT_LEARN, (3, 4), [0, 6, 14], id="scikit-learn"),
        pytest.param(XGBOOST, (5, 4), [0, 5, 9], id="xgboost"),
        pytest.param(LIGHTGBM, (5, 4), [0, 5, 9], id="lightgbm"),
        pytest.param(LIGHTNING, (2, 2), [0, 18, 36], id="lightning"),
        pytest.param(TRANSFORMERS, (3, 8), [0, 3, 11], id="transformers"),
    ],
)
def test_training_that_is_killed_ends_as_an_unbroken_run(
    tmp_path: Path, code: str, kills: tuple[int, ...], began: list[int]
) -> None:
    python = environment("training") / "bin" / "python"
    unbroken = survived(python, tmp_path / "unbroken", code)
    killed = survived(python, tmp_path / "killed", code, kills)
    assert killed["began"] == began
    assert killed["returned"] == unbroken["returned"]
