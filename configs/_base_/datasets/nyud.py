"""NYUD-MT, four tasks in rooms: 795 / 654 images, in any of the three forms of its archives.

Run with ``--cfg-options data_root=NYUD_MT``; ``data_prep/nyud.py DATA`` downloads and checks it.
"""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=[
            "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
            "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
            "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
            "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
            "other prop",
        ],
    ),
    depth=dict(type="Depth"),
    normals=dict(type="SurfaceNormals"),
    edge=dict(type="Edge", tolerance=0.011),
)  # fmt: skip

# the size of the transforms is the encoder's
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    dataset=dict(type="NYUD", split="train", pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    dataset=dict(type="NYUD", split="val", pipeline=[dict(type="Resize")]),
)
