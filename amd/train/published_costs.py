"""What others' networks take, counted once: per row, by the names that configurations give them."""

from amd.train.count import Cost

MIB = 2**20

PUBLISHED: dict[str, Cost] = {
    # counted by `count` on the published architectures, tests/train/test_count.py; a pair of an image and a prompt
    "hpsv2": Cost(986_109_441, 381.7e9, 414 * MIB, 15 * MIB),  # CLIP ViT-H/14 at 224 x 224, 77 tokens
    "pickscore": Cost(986_109_441, 381.7e9, 414 * MIB, 15 * MIB),  # the same architecture
    "clip-score": Cost(427_616_513, 175.3e9, 352 * MIB, 16 * MIB),  # ViT-L/14
    "imagereward": Cost(446_000_000, 137.8e9, 256 * MIB, 12 * MIB),  # BLIP: ViT-L/16 at 224 x 224, BERT of 35 tokens
    # Qwen2-VL-2B: 10 frames of 336 x 588, as of 81 frames of 480 x 832, are 1,260 tokens; 1,000 of text
    "videoalign": Cost(2_208_561_664, 14.08e12, 21_138 * MIB, 416 * MIB),
    "geneval-hf": Cost(496_000_000, 604e9, 0.0, 600 * MIB),  # Mask2Former Swin-S at 800 x 800, CLIP ViT-L/14 of a crop
    "dinov2": Cost(304_368_640, 162e9, 242 * MIB),  # ViT-L/14 at 224 x 224
    "adm-inception": Cost(23_900_000, 11.4e9, 0.0),  # Inception-v3 at 299 x 299, 5.7 GMAC as torchvision documents
    "clean-fid": Cost(23_900_000, 11.4e9, 0.0),  # the same network
    "efficientnet-lite0": Cost(4_652_008, 0.2e9, 0.0, 2 * MIB),  # at 112 x 112
}
WAITED: dict[str, float] = {
    # seconds per clip on a GPU of judges that mostly read films and resize, so that FLOPs say little. Rough: on an H100
    # a user (Vchitect/VBench, issue 195) waits nearly half a day for 4,730 clips; a prompt names 1.44 dimensions
    "vbench": 12 * 3600 / 4730,
    # as long for a dimension: 355 of 1,118 prompts name up to seven of those that are measured, the others none
    "vbench-i2v": 12 * 3600 / 4730 / 1.44 * 7 * 355 / 1118,
}
ENCODERS: dict[str, tuple[Cost, int]] = {  # -> per prompt, and tokens
    "minilm": (Cost(22_565_376, 0.43e9, 0.0, MIB), 20),
    "sd15": (Cost(123_060_480, 13.3e9, 0.0, 4 * MIB), 77),
    # its 24 layers over 512 tokens, the embedding of 256,384 words not counted in FLOPs
    "umt5": (Cost(5_680_910_336, 4.9e12, 0.0, 120 * MIB), 512),
    "sdxl": (Cost(817_720_320, 111.2e9, 0.0, 6 * MIB), 77),
}
FLUX = Cost(11_901_408_320, 74.4e12, 0.0, 824 * MIB)  # FLUX.1-dev at 1024 x 1024, 512 tokens
FLUX_TEXTS = Cost(
    4_885_000_000, 4.9e12, 0.0, 120 * MIB
)  # T5 v1.1 XXL's encoder of 512 tokens, and CLIP ViT-L/14's text
