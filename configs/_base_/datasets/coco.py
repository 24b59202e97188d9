"""COCO 2017, background and 80 things in the order of the json's categories; 118,287 / 5,000 images.

    DATA/{train,val}2017/<name>.jpg   DATA/annotations/instances_{train,val}2017.json

Run with ``--cfg-options data_root=DATA``; ``data_prep/coco.py DATA`` downloads and checks it.
"""

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=[
            "background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
            "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
            "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie",
            "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
            "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl",
            "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
            "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
            "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
            "teddy bear", "hair drier", "toothbrush",
        ],
    ),
)  # fmt: skip

# the size of the transforms is the encoder's
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="COCO", split="train", pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(type="COCO", split="val", pipeline=[dict(type="Resize")]),
)
