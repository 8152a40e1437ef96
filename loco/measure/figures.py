"""The figures of `loco analyze`: curves over t and over strengths, as PNG and SVG."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

CURVES = {
    "noised_rank_ratio": "rank ratio of J, fresh noise",
    "rank_ratio": "rank ratio of J, inverted images",
    "rank_ratio_eps_x": "rank ratio of d eps/dx",
    "rank_ratio_h_x": "rank ratio of dh/dx",
    "rank_ratio_x0_h": "rank ratio of dx0/dh",
    "asymmetry": "asymmetry of J",
}


_AXIS = "t, and log SNR"


def levels_figure(rows: Sequence[Mapping[str, Any]], recommended: float, kind: str) -> bytes:
    """Rank ratios and asymmetry (left, where measured) and reach (right) over t; `kind` is `png` or `svg`."""
    curves = {
        title: points
        for name, title in CURVES.items()
        if (points := [(row["t"], row[name]) for row in rows if name in row])
    }
    figure, axes = _axes(2 if curves else 1)
    for title, points in curves.items():
        axes[0].plot(*zip(*points, strict=True), marker="o", markersize=3, label=title)
    if curves:
        axes[0].set(xlabel=_AXIS, ylim=(0, 1.05), title="How low the rank is")
        axes[0].legend(frameon=False, fontsize=8)
    reach = [row["reach"] for row in rows]
    axes[-1].plot([row["t"] for row in rows], reach, marker="o", color="tab:orange")
    for axis in axes:
        told = [row.get("log_snr") for row in rows]
        if None not in told:  # the same level under every schedule
            axis.set_xticks(
                [row["t"] for row in rows],
                [f"{row['t']:g}\n{one:.1f}" for row, one in zip(rows, told, strict=True)],
            )
    axes[-1].axvline(recommended, color="0.6", linestyle="--")
    title = f"RMS change within the linear range; best at t = {recommended:g}"
    # From zero, and with room above the highest however near the others are.
    axes[-1].set(xlabel=_AXIS, ylim=(0, 1.1 * max(reach) or 1), title=title)
    return _written(figure, kind)


def strengths_figure(rows: Sequence[Mapping[str, Any]], kind: str) -> bytes:
    """Norm ratio (left) and the cosine of changes (right) over strengths, a curve a level, along what was found.

    Averaged over points with fresh noise where there are some, as in the paper.
    """
    figure, (left, right) = _axes(2)
    for t in sorted({row["t"] for row in rows}):
        mine = [row for row in rows if row["t"] == t and row["direction"] == "found"]
        mine = [row for row in mine if row.get("point") == "noised"] or mine
        strengths = [row["strength"] for row in mine]
        left.plot(
            strengths, [row["norm_ratio"] for row in mine], marker="o", markersize=3, label=f"t = {t:g}"
        )
        right.plot(strengths, [row["cosine_of_changes"] for row in mine], marker="o", markersize=3)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("strength")
    left.set_title("Norm ratio")
    left.legend(frameon=False, fontsize=8)
    right.set(title="Cosine of the change to its prediction", ylim=(None, 1.02))
    return _written(figure, kind)


def _axes(count: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(1, count, figsize=(5.2 * count, 3.6), layout="constrained", squeeze=False)
    axes = list(grid[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
    return figure, axes


def _written(figure: Any, kind: str) -> bytes:
    from matplotlib import pyplot

    buffer = BytesIO()
    # Neither a date nor random ids: the same figures are the same bytes.
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    with pyplot.rc_context({"svg.hashsalt": "loco"}):
        figure.savefig(buffer, format=kind, dpi=120, metadata=metadata)
    pyplot.close(figure)
    return buffer.getvalue()
