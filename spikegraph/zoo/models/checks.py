"""What the arguments of every network have to fulfil."""


def check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"Expected '{name}' to be at least 1 (got {size})")


def check_network(
    in_channels: int,
    hidden_channels: int,
    out_channels: int,
    num_layers: int,
    dropout: float,
) -> None:
    check_sizes(
        in_channels=in_channels,
        hidden_channels=hidden_channels,
        out_channels=out_channels,
        num_layers=num_layers,
    )
    check_dropout(dropout)


def check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"Expected 'dropout' to be in [0, 1) (got {dropout})")


def check_heads(*widths: int, heads: int, out_heads: int = 1) -> None:
    check_sizes(heads=heads, out_heads=out_heads)
    for width in widths:
        if width % heads != 0:
            raise ValueError(
                f"Expected 'hidden_channels' to be a multiple of 'heads' (got {width} "
                f'features and {heads} heads)'
            )
