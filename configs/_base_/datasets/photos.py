"""Photographs with one folder of labels per task; an image is used for the tasks that it has labels of.

    DATA/images/<name>.jpg   DATA/<task>/<name>.png   DATA/splits/{train,val}.txt

Run with ``--cfg-options data_root=DATA``. Classes below are VOC's 21, and background, hair, skin and clothes; for your
own folder copy this file and name yours.
"""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=[
            "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
            "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
        ],
    ),
    human_parts=dict(
        type="HumanParts",
        classes=["background", "hair", "skin", "upper clothes", "lower clothes", "dress", "shoes"],
    ),
    saliency=dict(type="Saliency"),
    normals=dict(type="SurfaceNormals"),
)  # fmt: skip

# the size of the transforms is the encoder's
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="FolderDataset", split="train", pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="FolderDataset", split="val", pipeline=[dict(type="Resize")]),
)
