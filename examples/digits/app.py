"""Handwritten digits: a model that is trained when it is first asked, and sleeps when nobody asks."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

import lambent

DATA = Path(__file__).parent / "data" / "mnist.npz"
SAMPLE = Path(__file__).parent / "data" / "seven.jpg.base64"
ACCURACY_MIN = 0.97

app = lambent.App("digits")


@app.model(train="fit", memory="512MiB", timeout_s=30)
class Digits:
    """Which digit is on a picture."""

    def load(self, model: lambent.ModelFiles) -> None:
        """Runs once per template, not once per worker: what is rehearsed here, no worker pays for."""
        self.network = model.load()
        self.predict({"body": SAMPLE.read_text()})

    def predict(self, event: dict) -> dict:
        """`event` is as API Gateway sends it: `{"body": "<picture in base64>", "isBase64Encoded": true}`."""
        picture = Image.open(io.BytesIO(base64.b64decode(event["body"]))).convert("L").resize((28, 28))
        pixels = np.asarray(picture, dtype=np.float32)[np.newaxis] / 255.0
        probabilities = self.network(pixels)
        return {"predictions": probabilities.tolist(), "class": int(probabilities[0].argmax())}


@app.job(memory="8GiB", timeout_s=1800)
def fit(run: lambent.Run) -> None:
    """Train on 60,000 digits, judge on 10,000 that were held out, refuse what is too weak."""
    import keras  # only the job needs it: serving does not

    class Report(keras.callbacks.Callback):
        """Says how far the training is."""

        def on_train_batch_end(self, batch, logs=None):
            step = self.epoch * self.params["steps"] + batch + 1
            run.log(
                step=step,
                progress=0.95 * step / (self.params["epochs"] * self.params["steps"]),
                message=f"epoch {self.epoch + 1}/{self.params['epochs']}",
                **logs,
            )

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

    keras.utils.set_random_seed(1)
    with np.load(DATA) as digits:
        x, y = digits["x_train"].astype(np.float32) / 255.0, digits["y_train"]
        x_held_out, y_held_out = digits["x_test"].astype(np.float32) / 255.0, digits["y_test"]

    network = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(x, y, epochs=int(run.params.get("epochs", 5)), batch_size=64, verbose=0, callbacks=[Report()])

    run.log(progress=0.97, message="judging on held-out digits")
    loss, accuracy = network.evaluate(x_held_out, y_held_out, verbose=0)
    run.report(held_out_accuracy=accuracy, held_out_loss=loss)
    if accuracy < ACCURACY_MIN:
        raise ValueError(
            f"accuracy {accuracy:.4f} on held-out digits is below {ACCURACY_MIN}: the model is not registered"
        )
    network.save(run.model_dir / "digits.keras")
