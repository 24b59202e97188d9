"""LoRA and BitFit together."""

method = dict(type="Composite", methods=[dict(type="LoRA", rank=4, scale=4.0), dict(type="BitFit")])
