"""Visual prompts in each family of encoders; what `mtl.methods.vpt` attaches."""
