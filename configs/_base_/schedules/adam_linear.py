"""The Polyhistor paper's recipe: Adam 1e-4, weight decay 1e-4, linear decay per iteration, 60 epochs, batch 12."""

optim_wrapper = dict(type="TaskwiseOptimWrapper", optimizer=dict(type="Adam", lr=1e-4, weight_decay=1e-4))
param_scheduler = dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=5)
