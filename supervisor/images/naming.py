"""Which image a name means, and what removing a name does.  Runs inside transactions."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.model import Container, Image
from hawse.supervisor.images.registry import reference
from hawse.supervisor.images.registry.reference import Reference
from hawse.supervisor.store.tx import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What `rm` did: names taken away, and the image with the layers that nobody else stands on."""

    untagged: tuple[str, ...] = ()
    image: Image | None = None
    layers: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()


def blobs(image: Image) -> tuple[str, ...]:
    """Return the digests of all that is kept of its registry; none for an image that was made here."""
    return (
        (image.id, image.manifest, *(digest.partition("@")[2] for digest in image.digests), *image.blobs)
        if image.manifest
        else ()
    )


def find(tx: Tx, ref: str) -> Image:
    """By name (`:latest` understood), id or unique id prefix, in this order.  Raises NotFound, UserError."""
    return _find(tx, ref)[0]


def put(tx: Tx, image: Image, tag: str) -> Image:
    """Store a new image, under a name if it has one; an image that had the name loses it."""
    if tag:
        image = replace(image, tags=(tag,))
        _take_away(tx, image, tag)
    tx.put_image(image)
    tx.append(events.ImageCreated(image=image))
    return image


def put_pulled(tx: Tx, image: Image, tag: str) -> Image:
    """Store an image as its registry has it, with the names that it had before, and one more if it was asked for by one."""
    had = tx.image(image.id)
    if had is not None:
        digests = (*had.digests, *(digest for digest in image.digests if digest not in had.digests))
        image = replace(image, tags=had.tags, digests=digests)
    if tag and tag not in image.tags:
        _take_away(tx, image, tag)
        image = replace(image, tags=(*image.tags, tag))
    tx.put_image(image)
    if had is None:
        tx.append(events.ImageCreated(image=image))
    tx.append(events.ImagePulled(image=image, name=tag or image.digests[-1]))
    return image


def add_tag(tx: Tx, ref: str, tag: str) -> Image:
    """Add one more name for it."""
    image = find(tx, ref)
    if tag not in image.tags:
        _take_away(tx, image, tag)
        image = replace(image, tags=(*image.tags, tag))
        tx.put_image(image)
    tx.append(events.ImageTagged(image=image, tag=tag))
    return image


def remove(tx: Tx, ref: str, *, force: bool) -> Removal:
    """A name goes; with the last one, or named by its id, the image goes too.  Raises Conflict in Docker's words."""
    image, tag = _find(tx, ref)
    # One that has ended and removes itself needs its layers no more, and its user takes it for gone.
    users = [c for c in tx.containers() if c.config.image_id == image.id and not c.is_leaving]
    if tag:
        left = tuple(t for t in image.tags if t != tag)
        if left or users:
            if not left and not force:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{ref}" (must force) - '
                    f"container {users[0].id[:12]} is using its referenced image {short(image)}"
                )
            _untag(tx, replace(image, tags=left), tag)
            return Removal(untagged=(tag,))
    else:
        _check_removable(image, users, force)
    tx.delete_image(image.id)
    for gone in image.tags:
        tx.append(events.ImageUntagged(image=image, tag=gone))
    tx.append(events.ImageRemoved(image=image))
    needed = {blob for other in tx.images() for blob in blobs(other)}
    return Removal(
        untagged=image.tags,
        image=image,
        layers=tuple(layer for layer in image.layers if not tx.layer_users(layer)),
        blobs=tuple(blob for blob in blobs(image) if blob not in needed),
    )


def short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:12]


def _check_removable(image: Image, users: list[Container], force: bool) -> None:
    if len({tag.rpartition(":")[0] for tag in image.tags}) > 1 and not force:
        raise Conflict(
            f"conflict: unable to delete {short(image)} (must be forced) - image is referenced in multiple repositories"
        )
    for user in sorted(users, key=lambda c: not c.state.is_alive):
        kind = "running" if user.state.is_alive else "stopped"
        raise Conflict(
            f"conflict: unable to delete {short(image)} (cannot be forced) - "
            f"image is being used by {kind} container {user.id[:12]}"
        )


def _find(tx: Tx, ref: str) -> tuple[Image, str]:
    """The image, and the name that it was found by ("" for an id)."""
    exact = tx.image(ref if ref.startswith("sha256:") else f"sha256:{ref}")
    if exact is not None:
        return exact, ""
    try:
        read = reference.parse(ref)
        name = str(read)
    except UserError:
        if not reference.may_be_id(ref):
            raise
        read, name = None, ref
    if read and read.digest:
        return _by_digest(tx, read), ""
    tagged = tx.image_by_tag(name)
    if tagged is not None:
        return tagged, name
    found = tx.image_by_prefix(ref) if reference.may_be_id(ref) else None
    if found is None:
        raise NotFound(f"No such image: {name}", hint=_near(name, tx.image_tags()))
    return found, ""


def _by_digest(tx: Tx, wanted: Reference) -> Image:
    """Find what a registry had under that digest."""
    for image in tx.images():
        if f"{wanted.name}@{wanted.digest}" in image.digests:
            return image
    raise NotFound(f"No such image: {wanted}", hint="see `hawse image ls --digests`; `hawse pull` fetches it")


def _near(name: str, known: list[str]) -> str:
    """A typo is in the repository's name, or it is another tag of the same one."""
    repositories = [tag.rpartition(":")[0] for tag in known]
    close = difflib.get_close_matches(name.rpartition(":")[0] or name, repositories, n=3)
    near = [tag for tag, repository in zip(known, repositories, strict=True) if repository in close][:3]
    return f"did you mean {' or '.join(near)}?" if near else "see `hawse image ls`; `hawse image import` makes one"


def _take_away(tx: Tx, image: Image, tag: str) -> None:
    """`tag` is about to be `image`'s."""
    holder = tx.image_by_tag(tag)
    if holder is not None and holder.id != image.id:
        _untag(tx, replace(holder, tags=tuple(t for t in holder.tags if t != tag)), tag)


def _untag(tx: Tx, image: Image, tag: str) -> None:
    tx.put_image(image)
    tx.append(events.ImageUntagged(image=image, tag=tag))
