"""What a power supply measures."""

from pydantic import BaseModel


class PowerReading(BaseModel):
    """One measurement: `voltage` in volts, `current` in amperes."""

    voltage: float
    current: float

    @property
    def apparent_power(self) -> float:
        """Voltage times current, in volt-amperes."""
        return self.voltage * self.current
