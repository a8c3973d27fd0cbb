"""Cases of images and sequences: convolutions and pooling."""

from __future__ import annotations

from torch.nn import functional

from validator.exact.conformance.case import Case


def spatial() -> list[Case]:
    """The cases; their names are those of the golden file."""
    image = (3, 4, 9, 8)
    return [
        Case("conv", functional.conv2d, (image, (6, 4, 3, 3), (6,)), rowwise=True),
        Case(
            "conv strided",
            lambda x, w: functional.conv2d(x, w, stride=2, padding=1),
            (image, (6, 4, 3, 3)),
            rowwise=True,
        ),
        Case(
            "conv dilated", lambda x, w: functional.conv2d(x, w, dilation=(2, 1)), (image, (6, 4, 3, 2)), rowwise=True
        ),
        Case("conv grouped", lambda x, w: functional.conv2d(x, w, groups=2), (image, (6, 2, 3, 3)), rowwise=True),
        Case(
            "conv 1d",
            lambda x, w, b: functional.conv1d(x, w, b, stride=2, padding=1),
            ((3, 4, 9), (6, 4, 3), (6,)),
            True,
        ),
        Case("max pool", lambda x: functional.max_pool2d(x, 2), (image,), rowwise=True),
        Case("max pool overlapping", lambda x: functional.max_pool2d(x, 3, 2, 1), (image,), rowwise=True),
        Case("max pool 1d", lambda x: functional.max_pool1d(x, 2), ((3, 4, 9),), rowwise=True),
        Case("average pool", lambda x: functional.avg_pool2d(x, 2), (image,), rowwise=True),
        Case("average pool padded", lambda x: functional.avg_pool2d(x, 3, 2, 1), (image,), rowwise=True),
        Case(
            "average pool inside",
            lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            (image,),
            rowwise=True,
        ),
        Case("adaptive average pool", lambda x: functional.adaptive_avg_pool2d(x, (3, 2)), (image,), rowwise=True),
        Case("adaptive average pool to one", lambda x: functional.adaptive_avg_pool2d(x, 1), (image,), rowwise=True),
        Case("adaptive max pool", lambda x: functional.adaptive_max_pool2d(x, (3, 4)), (image,), rowwise=True),
    ]
