"""Model archives as SageMaker serves them: by `model_fn`, `input_fn`, `predict_fn` and `output_fn`."""
