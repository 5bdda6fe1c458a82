"""Derivatives of a chain of affine and elementwise layers, by hand, in numpy float64.

NOTE [recursion]
Layers a_l = W_l h_{l-1} + b_l, h_l = s(a_l), the last one affine, h_0 = x. With J_l = ∂a_l/∂x and,
for output k, the cotangent d_l = ∂y_k/∂h_l:

    J_1 = W_1,  J_{l+1} = W_{l+1} diag(s'(a_l)) J_l
    H_k = Σ_l J_lᵀ diag(d_l s''(a_l)) J_l

since the only curvature of the chain is that of its elementwise layers. The diagonal needs the
columns of J_l squared instead of the products of all pairs.

NOTE [two directions]
Along two unit directions a layer is a polynomial in their steps s and t, of which the powers up to
s²t² are kept: `u = Σ u_pq sᵖtᵠ`. An affine layer maps each coefficient. An elementwise one is

    σ(u) = Σ_k σ⁽ᵏ⁾(u_00) (u - u_00)ᵏ / k!

with k up to 4, since u - u_00 begins with the first powers. At the end ∂⁴y/∂x_i²∂x_j² = 4 y_22, for
i = j too: there 24/4 of the coefficient of (s + t)⁴, which is six times that of s²t².
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from scipy.special import expit

Array = np.ndarray


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its first four derivatives."""

    value: Callable[[Array], Array]
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]
    third: Callable[[Array], Array]
    fourth: Callable[[Array], Array]


ACTIVATIONS: Mapping[str, Activation] = {
    "tanh": Activation(
        np.tanh,
        lambda a: 1 - np.tanh(a) ** 2,
        lambda a: -2 * np.tanh(a) * (1 - np.tanh(a) ** 2),
        lambda a: (1 - np.tanh(a) ** 2) * (6 * np.tanh(a) ** 2 - 2),
        lambda a: (1 - np.tanh(a) ** 2) * (16 * np.tanh(a) - 24 * np.tanh(a) ** 3),
    ),
    "softplus": Activation(
        lambda a: np.logaddexp(a, 0),
        expit,
        lambda a: expit(a) * expit(-a),
        lambda a: expit(a) * expit(-a) * (expit(-a) - expit(a)),
        lambda a: expit(a) * expit(-a) * (1 - 6 * expit(a) * expit(-a)),
    ),
    "sin": Activation(np.sin, np.cos, lambda a: -np.sin(a), lambda a: -np.cos(a), np.sin),
}


@dataclass(frozen=True)
class Chain:
    """Weights `[out, in]` and biases `[out]`, an activation after every layer but the last.

    `wanted`: only the first so many inputs are differentiated, the others are args.
    """

    weights: Sequence[Array]
    biases: Sequence[Array]
    activation: Activation
    x: Array
    wanted: int

    def pre_activations(self) -> list[Array]:
        """`[B, width]` of each layer, the output last."""
        h, found = self.x, []
        for W, b in zip(self.weights, self.biases, strict=True):
            found.append(h @ W.T + b)
            h = self.activation.value(found[-1])
        return found

    def tangents(self) -> Iterator[tuple[Array, Array]]:
        """Of each layer `a_l: [B, width]` and `J_l: [B, width, n]`."""
        W = self.weights[0][:, : self.wanted]
        J = np.broadcast_to(W, (len(self.x), *W.shape))
        for a, ahead in zip(self.pre_activations(), [*self.weights[1:], None], strict=True):
            yield a, J
            if ahead is not None:
                J = ahead @ (self.activation.first(a)[:, :, None] * J)

    def jacobian(self) -> Array:
        """`[B, m, n]`."""
        *_, (_, J) = self.tangents()
        return np.array(J)

    def cotangents(self) -> list[Array]:
        """Of each hidden layer `∂y/∂h_l: [B, m, width]`."""
        hidden = self.pre_activations()[:-1]
        d = np.broadcast_to(self.weights[-1], (len(self.x), *self.weights[-1].shape))
        found = [d]
        for W, a in zip(self.weights[-2:0:-1], hidden[:0:-1], strict=True):
            d = (d * self.activation.first(a)[:, None]) @ W
            found.append(d)
        return found[::-1]

    def _curvatures(self) -> Iterator[tuple[Array, Array]]:
        """Of each hidden layer the weights `d_l s''(a_l): [B, m, width]` and `J_l`."""
        hidden = zip(self.cotangents(), self.tangents(), strict=False)
        for d, (a, J) in hidden:
            yield d * self.activation.second(a)[:, None], J

    def hessian(self) -> Array:
        """`[B, m, n, n]`."""
        return sum(
            np.swapaxes(J, 1, 2)[:, None] @ (c[..., None] * J[:, None])
            for c, J in self._curvatures()
        )

    def hessian_diagonal(self) -> Array:
        """`[B, m, n]`, without the Hessian."""
        return sum(c @ J**2 for c, J in self._curvatures())

    def fourth(self) -> Array:
        """`∂⁴y/∂x_i²∂x_j²`: `[B, m, n, n]`, see NOTE [two directions]."""
        i, j = np.triu_indices(self.wanted)
        u = np.zeros((3, 3, len(i), len(self.x), len(self.weights[0])))
        u[1, 0], u[0, 1] = (self.weights[0].T[k][:, None] for k in (i, j))
        for a, W in zip(self.pre_activations()[:-1], self.weights[1:], strict=True):
            u = _through(self.activation, a, u) @ W.T
        found = np.zeros((self.wanted, self.wanted, *u.shape[3:]))
        found[i, j] = found[j, i] = 4 * u[2, 2]
        return found.transpose(2, 3, 0, 1)

    def exact(self) -> dict[str, Callable[[], Array]]:
        """The closed forms as a problem offers them."""
        return {
            "value": lambda: self.pre_activations()[-1],
            "jacobian": self.jacobian,
            "hessian": self.hessian,
            "hessian-diagonal": self.hessian_diagonal,
            "fourth": self.fourth,
        }


def _through(activation: Activation, a: Array, u: Array) -> Array:
    """The polynomials `[3, 3, …]` behind the activation, of u around a, without `u_00`."""
    found, power = activation.first(a) * u, u
    for k, order in enumerate((activation.second, activation.third, activation.fourth), start=2):
        power = _multiplied(power, u)
        found = found + order(a) / factorial(k) * power
    return found


def _multiplied(u: Array, w: Array) -> Array:
    """The product of two polynomials `[3, 3, …]`, higher powers dropped."""
    found = np.zeros_like(u)
    for p, q in np.ndindex(3, 3):
        found[p:, q:] += u[p, q] * w[: 3 - p, : 3 - q]
    return found
