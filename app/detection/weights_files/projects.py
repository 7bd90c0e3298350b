"""Other projects and other tasks whose checkpoints are met in place of detection weights."""

import re

# Beginning of a module name, and the project.
_MODULES = {
    "yolov6": "YOLOv6",
    "yolox": "YOLOX",
    "super_gradients": "YOLO-NAS",
    "damo": "DAMO-YOLO",
    "ppdet": "PaddleDetection",
    "detectron2": "Detectron2",
    "fvcore": "Detectron2",
    **dict.fromkeys(["mmdet", "mmyolo", "mmengine", "mmcv"], "MMDetection"),
    "torchvision.models": "torchvision",
    "torchvision.ops": "torchvision",
    "transformers": "Transformers",
    "timm": "timm",
    "effdet": "EfficientDet",
    "rfdetr": "RF-DETR",
    **dict.fromkeys(["pytorch_lightning", "lightning", "lightning_fabric"], "PyTorch Lightning"),
    "models.models": "YOLOR or YOLOv4",
    "models.experimental": "YOLOv5 or YOLOv7 with experimental layers",
    "ultralytics.engine": "a whole YOLO object of ultralytics, which model.save() saves as a checkpoint",
    "ultralytics.models": "a whole YOLO object of ultralytics, which model.save() saves as a checkpoint",
    "ultralytics.yolo.engine": "a whole YOLO object of ultralytics, which model.save() saves as a checkpoint",
}
# Layers of repositories that were copied from YOLOv5 and have modules of the same names.
_YOLOV7 = re.compile(
    r"models\.(yolo\.I(Aux)?(Detect|Bin|Keypoint)|common\.(SPPCSPC\w*|GhostSPPCSPC|MP|SP|ReOrg|RepConv))"
)
_YOLOV9 = re.compile(
    r"models\.(yolo\.(Dual|Triple|Quadruple)?D(Detect|Segment|Panoptic)\w*"
    r"|common\.(RepNCSPELAN4|RepConvN|RepNCSP|RepNBottleneck|ADown|AConv|ELAN1|SPPELAN|CBLinear|CBFuse|Silence))"
)
_TASKS = {
    "Segmentation": "for segmentation",
    "SemanticSegmentation": "for segmentation",
    "Pose": "for poses",
    "OBB": "for rotated boxes",
    "Classification": "for classification",
    "Depth": "for depth",
    "World": "of YOLO-World, which takes text",
    "YOLOE": "of YOLOE, which takes text",
    "YOLOESeg": "of YOLOE, which takes text",
}


def find_project(names: list[str]) -> str:
    """Return the project whose modules a pickle names; "" for none that is known."""
    for name in names:
        if _YOLOV7.fullmatch(name):
            return "YOLOv7"
        if _YOLOV9.fullmatch(name):
            return "the original YOLOv9"
        for module, project in _MODULES.items():
            if name.startswith(f"{module}."):
                return project
    return ""


def find_task(kind: str) -> str:
    """Return the task of a network class of ultralytics or YOLOv5 that is not for detection; "" for any other class."""
    module, _, name = kind.rpartition(".")
    return _TASKS.get(name.removesuffix("Model"), "") if module in ("ultralytics.nn.tasks", "models.yolo") else ""
