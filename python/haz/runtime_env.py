"""Runtime environments as objects, as in ``ray.runtime_env``; dictionaries do as well.

See the guide for the fields.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]


class RuntimeEnvConfig(dict[str, object]):
    """Settings of the set-up: ``setup_timeout_seconds`` (default 600; -1: no limit).

    ``eager_install`` and ``log_files`` are accepted, and have no meaning here.
    """

    def __init__(
        self,
        setup_timeout_seconds: int = 600,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds,
            eager_install=eager_install,
            log_files=log_files,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a plain dictionary."""
        return dict(self)


class RuntimeEnv(dict[str, object]):
    """A runtime environment: a dictionary of its fields, checked when it is made.

    Parameters
    ----------
    py_modules, working_dir, pip, env_vars, worker_process_setup_hook, config, excludes
        As in the ``runtime_env`` dictionary.
    **others
        Fields that haz can't honour: NotImplementedError says what to do; there are no others.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        For fields that are wrong, unknown or can't be honoured.
    """

    def __init__(
        self,
        *,
        py_modules: list[Any] | None = None,
        working_dir: str | None = None,
        pip: Any = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Any = None,
        config: Any = None,
        excludes: list[str] | None = None,
        **others: Any,
    ) -> None:
        from haz._core.environment import check_runtime_env

        fields = {
            "py_modules": py_modules,
            "working_dir": working_dir,
            "pip": pip,
            "env_vars": env_vars,
            "worker_process_setup_hook": worker_process_setup_hook,
            "config": config,
            "excludes": excludes,
            **others,
        }
        super().__init__({name: value for name, value in fields.items() if value is not None})
        check_runtime_env(dict(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary."""
        return dict(self)
