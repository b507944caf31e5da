def draw(a, b):
    pass
