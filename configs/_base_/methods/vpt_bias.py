"""VPT-deep and BitFit together."""

method = dict(type="Composite", methods=[dict(type="VPT", deep=True, prompts=50), dict(type="BitFit")])
