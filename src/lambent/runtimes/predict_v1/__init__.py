"""What V1 of the prediction protocol asks of a model: TensorFlow Serving's REST API, and KServe's first."""
