"""PASCAL-Context, four tasks of the archive ``PASCAL_MT``: 4,998 / 5,105 images.

Run with ``--cfg-options data_root=PASCAL_MT``; ``data_prep/pascal_context.py DATA`` downloads and checks it, and with
``--convert`` makes its labels fast to read. A fifth task:
``tasks["edge"] = dict(type="Edge")`` in a config.
"""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=[
            "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
            "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
        ],
    ),
    human_parts=dict(type="HumanParts"),
    saliency=dict(type="Saliency"),
    normals=dict(type="SurfaceNormals"),
)  # fmt: skip

# the size of the transforms is the encoder's
train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    dataset=dict(type="PascalContext", split="train", pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(
    batch_size=12,
    num_workers=4,
    dataset=dict(type="PascalContext", split="val", pipeline=[dict(type="Resize")]),
)
