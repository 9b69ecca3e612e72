package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// DefaultCurrency is that of amounts which come without one.
const DefaultCurrency = "EUR"

// MaxMinor is the largest amount that is taken, in minor units: far above any order,
// far below what could overflow in a sum.
const MaxMinor = int64(1e15)

// maxExponent bounds the exponent of a decimal that is parsed, and so the memory for it.
const maxExponent = 30

// ErrAmount is wrapped when a decimal is not an amount of money.
var ErrAmount = errors.New("not an amount of money")

// MinorDigits returns how many decimal digits a currency has below its unit.
func MinorDigits(currency string) int {
	switch currency {
	case "JPY", "KRW", "ISK", "CLP", "VND", "XAF", "XOF", "PYG", "UGX":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	default:
		return 2
	}
}

// IsCurrency reports whether text looks like an ISO 4217 code.
func IsCurrency(text string) bool {
	return len(text) == 3 && !strings.ContainsFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// ParseMinor reads a JSON number as an amount in minor units, exactly: 129.00, 129,
// 1.29e2 are 12900 in EUR; 129.005 is an error, as is anything below zero or above MaxMinor.
func ParseMinor(number json.Number, currency string) (int64, error) {
	text := string(number)
	if len(text) == 0 || len(text) > 64 {
		return 0, fmt.Errorf("a number of %d characters: %w", len(text), ErrAmount)
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	shift := MinorDigits(currency)
	if hasExponent {
		var e int
		if _, err := fmt.Sscanf(exponent, "%d", &e); err != nil || e > maxExponent || e < -maxExponent {
			return 0, fmt.Errorf("exponent of %s: %w", text, ErrAmount)
		}
		shift += e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	shift -= len(fraction)
	amount, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return 0, fmt.Errorf("%q: %w", text, ErrAmount)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(shift, -shift))), nil)
	if shift >= 0 {
		amount.Mul(amount, power)
	} else if _, rest := amount.QuoRem(amount, power, new(big.Int)); rest.Sign() != 0 {
		return 0, fmt.Errorf("%s has fractions of the smallest coin of %s: %w", text, currency, ErrAmount)
	}
	if amount.Sign() < 0 || !amount.IsInt64() || amount.Int64() > MaxMinor {
		return 0, fmt.Errorf("%s is below 0 or above the limit of %d minor units: %w", text, MaxMinor, ErrAmount)
	}
	return amount.Int64(), nil
}

// FormatMinor writes an amount for people: 12900 EUR is "129.00 EUR".
func FormatMinor(minor int64, currency string) string {
	digits := MinorDigits(currency)
	sign, text := "", big.NewInt(minor).String()
	if minor < 0 {
		sign, text = "-", text[1:]
	}
	for len(text) <= digits {
		text = "0" + text
	}
	if digits > 0 {
		text = text[:len(text)-digits] + "." + text[len(text)-digits:]
	}
	return strings.TrimSpace(sign + text + " " + currency)
}

// ParseAmount reads an amount as people write it, such as "129.00", in minor units.
func ParseAmount(text, currency string) (int64, error) {
	if !json.Valid([]byte(text)) {
		return 0, fmt.Errorf("%.40q: %w", text, ErrAmount)
	}
	return ParseMinor(json.Number(text), currency)
}
