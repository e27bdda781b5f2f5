

def load(weights=Path(__file__).with_name("weights.pth")):
    """The network with its weights, ready to infer."""
    network = Network()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


if __name__ == "__main__":
    network = load()
    with torch.no_grad():
        logits = network(torch.zeros(1, *SHAPE))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{(1, *SHAPE)} -> {tuple(logits.shape)}, {parameters:,} parameters")
