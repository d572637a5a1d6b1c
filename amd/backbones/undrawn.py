"""Networks that are built only to be filled."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class Undrawn(TorchFunctionMode):
    """Initialisations on the meta device do nothing: they would change nothing, and make torch load its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let anything else happen."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) != "torch.nn.init" and func not in (Tensor.normal_, Tensor.uniform_):
            return func(*args, **kwargs)
        tensor = args[0] if args else kwargs["tensor"]
        return tensor if tensor.is_meta else func(*args, **kwargs)
