"""Rendered people and objects with exact labels for all four tasks; nothing to download."""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=["background", "person", "ball", "box", "barrel", "cone", "lamp", "chair", "plant"],
    ),
    human_parts=dict(type="HumanParts"),
    saliency=dict(type="Saliency"),
    normals=dict(type="SurfaceNormals"),
)

# the size of the pictures is the encoder's
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(type="Scenes", split="train", length=2000, pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(type="Scenes", split="val", length=200))
