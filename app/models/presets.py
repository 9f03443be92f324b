"""The named configurations of the networks, as data: the catalog loads no torch.

"tiny" ones are for a CPU and the shipped checkpoints, "smallest" ones for trials of a data set or a
machine, "paper" ones are the published sizes. Keys are fields of each network's own config.
"""

from typing import Any

MIFT: dict[str, dict[str, Any]] = {
    "tiny-drone": {
        "query_view": "drone",
        "query_size": (192, 192),
        "satellite_size": (192, 192),
        "group": 6,
        "width": 32,
        "depths": (1, 1, 3, 2),
        "heads": (1, 2, 4, 8),
        "mlp_ratio": 3.0,
        "drop_path": 0.0,
        "fusion_widths": (16, 16, 32, 128),
        "heat": "raw",
        "part_width": 128,
        "dropout": 0.1,
        "joint_batch_norm": True,
    },
    "smallest": {
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (64, 64),
        "group": 2,
        "width": 16,
        "depths": (1, 2, 2, 1),
        "heads": (1, 2, 2, 2),
        "mlp_ratio": 3.0,
        "drop_path": 0.0,
        "fusion_widths": (8, 8, 16, 32),
        "heat": "raw",
        "part_width": 32,
        "dropout": 0.0,
        "joint_batch_norm": True,
    },
    "paper-university": {
        "query_view": "drone",
        "query_size": (224, 224),
        "satellite_size": (224, 224),
    },
    "paper-university-released": {
        "query_view": "drone",
        "query_size": (224, 224),
        "satellite_size": (224, 224),
        "fusion": False,
        "region_rule": "equal",
        "classes": 701,
        "samples": 1,
    },
}

FSRA: dict[str, dict[str, Any]] = {
    "tiny-drone": {
        "query_view": "drone",
        "query_size": (192, 192),
        "satellite_size": (192, 192),
        "width": 192,
        "heads": 6,
        "drop_path": 0.0,
        "heat": "raw",
        "part_width": 128,
        "dropout": 0.1,
        "classes": 0,
        "joint_batch_norm": True,
    },
    "smallest": {
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (64, 64),
        "width": 32,
        "heads": 2,
        "drop_path": 0.0,
        "heat": "raw",
        "part_width": 32,
        "dropout": 0.0,
        "classes": 0,
        "joint_batch_norm": True,
        "depth": 2,
    },
    "paper-university": {
        "query_view": "drone",
        "query_size": (256, 256),
        "satellite_size": (256, 256),
    },
}

LPN: dict[str, dict[str, Any]] = {
    "tiny-drone": {
        "query_view": "drone",
        "query_size": (192, 192),
        "satellite_size": (192, 192),
        "backbone": "resnet18",
        "layers": (1, 1, 1, 1),
        "channels": (32, 64, 128, 256),
        "rings": 3,
        "part_width": 128,
        "dropout": 0.1,
        "classes": 0,
        "margin": 0.3,
        "joint_batch_norm": True,
    },
    "smallest": {
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (64, 64),
        "backbone": "resnet18",
        "layers": (1, 1, 1, 1),
        "channels": (16, 16, 32, 32),
        "rings": 2,
        "part_width": 32,
        "dropout": 0.0,
        "classes": 0,
        "margin": 0.3,
        "joint_batch_norm": True,
    },
    "paper-university": {
        "query_view": "drone",
        "query_size": (256, 256),
        "satellite_size": (256, 256),
    },
}

MFRGN: dict[str, dict[str, Any]] = {
    "tiny-drone": {
        "backbone": "tf_efficientnet_lite0",
        "satellite_size": (160, 160),
        "mean": (0.4980392156862745, 0.4980392156862745, 0.4980392156862745),
        "std": (0.5019607843137255, 0.5019607843137255, 0.5019607843137255),
        "freeze_bn": True,
        "frozen_stages": 3,
        "global_width": 448,
        "local_width": 64,
        "norm_groups": 8,
        "dropout": 0.1,
        "satellite_grids": ((1, 1), (5, 5), (9, 9), (13, 13)),
        "query_grids": ((1, 1), (2, 8), (4, 16), (6, 48)),
        "query_view": "drone",
        "query_size": (160, 160),
        "shared": True,
        "joint_batch_norm": True,
        "width": 64,
        "ffn_width": 256,
    },
    "tiny-street": {
        "backbone": "tf_efficientnet_lite0",
        "satellite_size": (160, 160),
        "mean": (0.4980392156862745, 0.4980392156862745, 0.4980392156862745),
        "std": (0.5019607843137255, 0.5019607843137255, 0.5019607843137255),
        "freeze_bn": True,
        "frozen_stages": 3,
        "global_width": 448,
        "local_width": 64,
        "norm_groups": 8,
        "dropout": 0.1,
        "satellite_grids": ((1, 1), (5, 5), (9, 9), (13, 13)),
        "query_grids": ((1, 1), (2, 8), (4, 16), (6, 48)),
        "query_view": "street",
        "query_size": (96, 384),
        "width": 32,
        "ffn_width": 128,
    },
    "smallest": {
        "backbone": "test_efficientnet",
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (64, 64),
        "global_width": 112,
        "local_width": 16,
        "width": 16,
        "norm_groups": 4,
        "heads": 2,
        "ffn_width": 32,
        "dropout": 0.0,
        "satellite_grids": ((1, 1), (3, 3), (5, 5)),
        "query_grids": ((1, 1), (2, 4), (3, 7)),
        "satellite_kernels": ((3, 3), (3, 3), (3, 3), (1, 1)),
        "query_kernels": ((3, 5), (3, 5), (3, 5), (1, 3)),
    },
    "paper-cvusa": {"query_view": "street", "query_size": (128, 512), "satellite_size": (256, 256)},
    "paper-vigor": {"query_view": "street", "query_size": (320, 640), "satellite_size": (320, 320)},
    "paper-university": {
        "query_view": "drone",
        "query_size": (384, 384),
        "satellite_size": (384, 384),
        "shared": True,
    },
}

GEOVIEWMATCH: dict[str, dict[str, Any]] = {
    "tiny-street": {
        "satellite_size": (192, 192),
        "window": 6,
        "width": 32,
        "depths": (1, 1, 3, 1),
        "heads": (1, 2, 4, 8),
        "mlp_ratio": 4.0,
        "drop_path": 0.0,
        "masks": 4,
        "projection": (64, 128),
        "query_view": "street",
        "query_size": (96, 384),
    },
    "tiny-drone": {
        "satellite_size": (192, 192),
        "window": 6,
        "width": 32,
        "depths": (1, 1, 3, 1),
        "heads": (1, 2, 4, 8),
        "mlp_ratio": 4.0,
        "drop_path": 0.0,
        "masks": 4,
        "projection": (64, 128),
        "query_view": "drone",
        "query_size": (192, 192),
        "query_turn": "rotate",
    },
    "smallest": {
        "satellite_size": (64, 64),
        "window": 4,
        "width": 16,
        "depths": (1, 2, 2, 1),
        "heads": (1, 2, 2, 2),
        "mlp_ratio": 4.0,
        "drop_path": 0.0,
        "masks": 4,
        "projection": (32, 32),
        "query_view": "street",
        "query_size": (64, 128),
    },
    "paper-cvusa-cvact": {
        "query_view": "street",
        "query_size": (128, 640),
        "satellite_size": (256, 256),
    },
}

TRANSGEO: dict[str, dict[str, Any]] = {
    "tiny-street": {
        "satellite_size": (160, 160),
        "width": 160,
        "depth": 5,
        "heads": 5,
        "outputs": 256,
        "query_view": "street",
        "query_size": (96, 384),
    },
    "tiny-drone": {
        "satellite_size": (160, 160),
        "width": 160,
        "depth": 5,
        "heads": 5,
        "outputs": 256,
        "query_view": "drone",
        "query_size": (160, 160),
    },
    "smallest": {
        "satellite_size": (64, 64),
        "width": 32,
        "depth": 2,
        "heads": 2,
        "outputs": 64,
        "query_view": "street",
        "query_size": (32, 128),
    },
    "paper-cvusa-cvact": {
        "query_view": "street",
        "query_size": (112, 616),
        "satellite_size": (256, 256),
    },
    "paper-cvusa-cvact-320": {
        "query_view": "street",
        "query_size": (112, 616),
        "satellite_size": (320, 320),
    },
    "paper-vigor": {"query_view": "street", "query_size": (320, 640), "satellite_size": (320, 320)},
}

MSAE: dict[str, dict[str, Any]] = {
    "tiny-street": {
        "trunk": "tf_efficientnet_lite0",
        "satellite_size": (160, 160),
        "mean": (0.4980392156862745, 0.4980392156862745, 0.4980392156862745),
        "std": (0.5019607843137255, 0.5019607843137255, 0.5019607843137255),
        "freeze_bn": True,
        "frozen_stages": 3,
        "outputs": 320,
        "rotation_deg": 0.0,  # the app's own training turns panoramas already
        "query_view": "street",
        "query_size": (96, 384),
    },
    "smallest": {
        "trunk": "test_efficientnet",
        "stride": 8,
        "satellite_size": (64, 64),
        "mask_filters": (4, 4, 4),
        "outputs": 64,
        "rotation_deg": 0.0,
        "queue_length": 16,
        "query_view": "street",
        "query_size": (32, 128),
    },
    "paper-cvusa-cvact": {
        "query_view": "street",
        "query_size": (224, 1232),  # CVUSA's own; the view from above is 288 x 288
        "satellite_size": (288, 288),
    },
}

# What the tiny object networks have in common, so that they can be compared at equal training. The
# satellite picture's map is of stride 8, that of 16 laid beside it: a fifth of the demo world's
# boxes are smaller than 20 pixels.
_TINY_OBJECT: dict[str, Any] = {
    "satellite_size": (256, 256),
    "mean": (0.4980392156862745, 0.4980392156862745, 0.4980392156862745),
    "std": (0.5019607843137255, 0.5019607843137255, 0.5019607843137255),
    "freeze_bn": True,
    "frozen_stages": 3,
    "query_strides": (16,),
    "satellite_strides": (8, 16),
    "click_input": "tint",
    "bn_momentum": 0.1,
    "anchors": (  # clustered from 3500 boxes of demo worlds
        (14.3, 16.1),
        (23.6, 22.8),
        (34.7, 31.4),
        (40.2, 42.5),
        (61.2, 45.4),
        (48.1, 63.4),
        (71.5, 65.6),
        (83.1, 112.2),
        (136.0, 132.8),
    ),
}
_TINY_ATTENGEO: dict[str, Any] = {
    **_TINY_OBJECT,
    "backbone": "tf_efficientnet_lite0",
    "width": 96,
    "iterations": 2,
    "heads": 4,
    "ffn_width": 384,
    "dropout": 0.0,
    "start_confidence": 0.0001,  # of 9216 boxes one is right
}
_TINY_DETGEO: dict[str, Any] = {
    **_TINY_OBJECT,
    "query_backbone": "tf_efficientnet_lite0",
    "satellite_backbone": "tf_efficientnet_lite0",
    "width": 192,
}
_OF_DRONE: dict[str, Any] = {"query_view": "drone", "query_size": (160, 160)}
_OF_STREET: dict[str, Any] = {"query_view": "street", "query_size": (96, 384)}

ATTENGEO: dict[str, dict[str, Any]] = {
    "tiny-drone": {**_TINY_ATTENGEO, **_OF_DRONE},
    "tiny-street": {**_TINY_ATTENGEO, **_OF_STREET},
    "smallest": {
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (64, 64),
        "backbone": "test_efficientnet",
        "query_strides": (16,),
        "satellite_strides": (8, 16),
        "anchors": ((6.0, 6.0), (12.0, 12.0), (24.0, 24.0)),
        "width": 32,
        "iterations": 2,
        "heads": 2,
        "ffn_width": 64,
        "dropout": 0.0,
        "start_confidence": 0.005,
    },
    "paper-drone": {
        "query_view": "drone",
        "query_size": (256, 256),
        "satellite_size": (1024, 1024),
    },
    # G2D, the paper's ground to drone set, has these sizes too, and anchors of its own.
    "paper-street": {
        "query_view": "street",
        "query_size": (256, 512),
        "satellite_size": (1024, 1024),
    },
}

DETGEO: dict[str, dict[str, Any]] = {
    "tiny-drone": {**_TINY_DETGEO, **_OF_DRONE},
    "tiny-street": {**_TINY_DETGEO, **_OF_STREET},
    "smallest": {
        "query_view": "drone",
        "query_size": (64, 64),
        "satellite_size": (128, 128),
        "query_backbone": "test_efficientnet",
        "query_strides": (16,),
        "darknet_width": 4,
        "darknet_blocks": (1, 1, 1, 1, 1),
        "whole_darknet": False,
        "anchors": ((24.0, 24.0), (12.0, 12.0), (6.0, 6.0)),
        "width": 32,
        "bn_momentum": 0.1,
    },
    "paper-drone": {
        "query_view": "drone",
        "query_size": (256, 256),
        "satellite_size": (1024, 1024),
    },
    "paper-street": {
        "query_view": "street",
        "query_size": (256, 512),
        "satellite_size": (1024, 1024),
    },
}
