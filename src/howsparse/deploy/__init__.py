"""What zeros are worth: multiply-adds and bytes of a pruned network."""

from howsparse.deploy.bytes import Bytes, count_bytes
from howsparse.deploy.multiply_adds import MultiplyAdds, count_multiply_adds

__all__ = ["Bytes", "MultiplyAdds", "count_bytes", "count_multiply_adds"]
