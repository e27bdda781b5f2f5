def channel_shuffle(x, groups):
    """Interleaves `groups` blocks of channels."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def softmax_between(x, parts):
    """Softmax between `parts` parts of the channels."""
    return x.unflatten(1, (parts, -1)).softmax(1).flatten(1, 2)


def upsample(x, factor, like=None):
    """Every pixel `factor` times along rows and columns, cut to the size of `like`."""
    y = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return y if like is None else y[:, :, : like.shape[2], : like.shape[3]]


def crossed_gate(x, gate, threshold):
    """What is informative passes whole, the rest in part; the other parts cross over to the other half of the channels."""
    share = torch.sigmoid(gate)
    informative = share > threshold
    own = x * torch.where(informative, torch.ones_like(share), share)
    first, second = (x * torch.where(informative, torch.zeros_like(share), share)).chunk(2, 1)
    return own + torch.cat([second, first], 1)


class SharedGroupNorm(nn.GroupNorm):
    """Group norm, each channel of its result times its share of the weights."""

    def forward(self, x):
        share = self.weight / self.weight.sum()
        return F.group_norm(x, self.num_groups, self.weight * share, self.bias * share, self.eps)
