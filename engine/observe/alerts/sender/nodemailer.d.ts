/** nodemailer: the little of it that email.ts uses; the package has no types of its own. */
declare module 'nodemailer' {
  interface Transport {
    sendMail(mail: object): Promise<{ response: string }>
    close(): void
  }
  const nodemailer: { createTransport(options: object): Transport }
  export default nodemailer
}
