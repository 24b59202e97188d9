"""ADE20K scene parsing, 150 classes in the published order (``objectInfo150.txt``); 20,210 / 2,000 images.

    DATA/images/{training,validation}/<name>.jpg   DATA/annotations/{training,validation}/<name>.png

Run with ``--cfg-options data_root=DATA``; ``data_prep/ade20k.py DATA`` downloads and checks it.
"""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=[
            "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
            "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
            "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
            "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
            "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand",
            "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge",
            "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove",
            "palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
            "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver",
            "airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle",
            "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything",
            "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
            "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
            "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan",
            "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
        ],
    ),
)  # fmt: skip

# the size of the transforms is the encoder's
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="ADE20K", split="train", pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="ADE20K", split="val", pipeline=[dict(type="Resize")]),
)
