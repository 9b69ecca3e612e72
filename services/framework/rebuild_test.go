package framework

import (
	"errors"
	"testing"
)

// A session that ends for a switch, and could not write what it had, is not switched.
func TestBesides(t *testing.T) {
	broken := errors.New("close: the disk is full")
	for name, c := range map[string]struct{ err, want error }{
		"the switch alone":     {errSwitch, nil},
		"nothing more":         {errors.Join(errors.Join(errSwitch, nil), nil), nil},
		"an error of closing":  {errors.Join(errSwitch, broken), broken},
		"an error of settling": {errors.Join(errors.Join(errSwitch, broken), nil), broken},
		"something else":       {broken, broken},
	} {
		if got := besides(c.err, errSwitch); (got == nil) != (c.want == nil) || c.want != nil && !errors.Is(got, c.want) || errors.Is(got, errSwitch) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
