"""The techniques of the conversion, from the plain code of base 2 on: each of
`STEPS` adds options to those before."""

PLAIN = {
    'base': 2.0,
    'threshold_shift': 1.0,
    'per_channel': False,
    'levels': 'geometric',
    'compensate': None,
}
STEPS = {
    'base 2, thresholds not shifted': PLAIN,
    '+ threshold shift': {'threshold_shift': None},
    '+ base of each population': {'base': 'auto'},
    '+ scale of each channel': {'per_channel': True},
    '+ ridge compensation': {'compensate': 'ridge'},
    '+ fitted levels': {'levels': 'fitted'},
}


def added(steps):
    """The options of each step, with those of all before."""
    options, found = {}, {}
    for name, more in steps.items():
        options = {**options, **more}
        found[name] = options
    return found
