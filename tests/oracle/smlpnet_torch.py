"""sMLPNet in PyTorch, written from its formulas (arXiv 2109.05422) and the names of published checkpoints alone.

For comparison: tulle itself needs no PyTorch. Height and width may differ.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvMerge(nn.Module):
    """Depthwise 3 x 3 convolution of GELU(batch norm)."""

    def __init__(self, channels):
        super().__init__()
        self.BN = nn.BatchNorm2d(channels)
        self.Conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x):
        return self.Conv(F.gelu(self.BN(x)))


class LocalMix(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_merge = ConvMerge(channels)

    def forward(self, x):
        return self.conv_merge(x)


class RowsAndColumns(nn.Module):
    """Identity, rows and columns, side by side, brought back to the channels."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.BN = nn.BatchNorm2d(channels)
        self.proj_h = nn.Conv2d(width, width, 1)  # contracts the width
        self.proh_w = nn.Conv2d(height, height, 1)  # contracts the height
        self.fuse = nn.Conv2d(3 * channels, channels, 1, bias=False)

    def forward(self, x):
        u = F.gelu(self.BN(x))
        rows = self.proj_h(u.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        columns = self.proh_w(u.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
        return self.fuse(torch.cat([u, rows, columns], dim=1))


class Hidden(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.net = nn.ModuleDict({"0": nn.Linear(channels, hidden), "3": nn.Linear(hidden, channels)})

    def forward(self, x):
        return self.net["3"](F.gelu(self.net["0"](x)))


class SmlpNet(nn.Module):
    def __init__(self, channels, height, width, patch, embedding, depths, classes, expansion=3, drop_path=0.0):
        super().__init__()
        blocks = sum(depths)
        self.rates = [drop_path * k / (blocks - 1) if blocks > 1 else 0.0 for k in range(blocks)]
        self.depths = depths
        self.to_patch_embedding, self.token_mix, self.channel_mix = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        height, width = height // patch, width // patch
        for stage, depth in enumerate(depths):
            out = embedding << stage
            side = patch if stage == 0 else 2
            self.to_patch_embedding.append(
                nn.ModuleList([nn.Conv2d(channels if stage == 0 else out // 2, out, side, side, bias=False)]))
            if stage > 0:
                height, width = height // 2, width // 2
            for _ in range(depth):
                self.token_mix.append(nn.ModuleList([LocalMix(out), RowsAndColumns(out, height, width)]))
                self.channel_mix.append(
                    nn.ModuleList([nn.Identity(), nn.LayerNorm(out), Hidden(out, expansion * out)]))
        self.batch_norm = nn.BatchNorm2d(out)
        self.mlp_head = nn.ModuleList([nn.Linear(out, classes)])

    def drop(self, branch, block):
        rate = self.rates[block]
        if not self.training or rate == 0.0:
            return branch
        keep = (torch.rand(len(branch), 1, 1, 1) >= rate).to(branch)
        return branch * keep / (1.0 - rate)

    def forward(self, x):
        block = 0
        for stage, depth in enumerate(self.depths):
            x = self.to_patch_embedding[stage][0](x)
            for _ in range(depth):
                local, mix = self.token_mix[block]
                x = x + self.drop(mix(local(x)), block)
                _, norm, mlp = self.channel_mix[block]
                tokens = x.permute(0, 2, 3, 1)
                x = x + self.drop(mlp(norm(tokens)).permute(0, 3, 1, 2), block)
                block += 1
        return self.mlp_head[0](self.batch_norm(x).mean(dim=(2, 3)))


def tiny(size=224):
    return SmlpNet(3, size, size, 4, 80, [2, 8, 14, 2], 1000)
